-- Tasks that run at a provider, which are looked through for those whose session has ended. There are never many.
CREATE INDEX provider_tasks_running ON provider_tasks (updated_at) WHERE state = 'running';
