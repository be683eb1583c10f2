-- What the providers need beside tasks: callbacks, uploads, GPU slots, posters, and the prices of their models.

-- A callback is a hint: the outcome is read from the provider before it is booked. It is matched by the token in its URL, of which only
-- the hash is kept, so it may come before the task's id was recorded.
CREATE TABLE webhook_inbox (
    inbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_task_id uuid NOT NULL REFERENCES provider_tasks,
    provider text NOT NULL,
    token_hash bytea NOT NULL CHECK (octet_length(token_hash) = 32),
    body_hash bytea NOT NULL CHECK (octet_length(body_hash) = 32),
    body text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    booked_at timestamptz,
    UNIQUE (token_hash, body_hash)
);
CREATE INDEX webhook_inbox_open ON webhook_inbox (provider_task_id) WHERE booked_at IS NULL;
CREATE INDEX webhook_inbox_old ON webhook_inbox (received_at);

-- Set by a callback on the session itself, in the row that a suspending worker writes: whichever of the two comes first, the other sees it.
ALTER TABLE generation_sessions ADD COLUMN callback_at timestamptz;

-- When the worker that has it last moved on; a lease that is renewed without this is a job that hangs.
ALTER TABLE generation_sessions ADD COLUMN progress_at timestamptz;

-- One job a GPU: a slot belongs to the session named here as long as that session's lease lives under this token. So a dead worker
-- frees its slots by dying, and nothing has to be renewed.
CREATE TABLE gpu_slots (
    endpoint text PRIMARY KEY,
    session_id uuid,
    lease_token bigint,
    taken_at timestamptz,
    CONSTRAINT taken_by_a_lease CHECK ((session_id IS NULL) = (lease_token IS NULL) AND (session_id IS NULL) = (taken_at IS NULL))
);

-- Reference pictures, used in parameters as upload:<id>, by their owner alone.
CREATE TABLE uploads (
    upload_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    object_key text NOT NULL UNIQUE,
    content_type text NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    width integer CHECK (width > 0),
    height integer CHECK (height > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_user ON uploads (user_id, upload_id DESC);

-- What failed, for operators; and what was made of it since.
CREATE INDEX generation_sessions_failed ON generation_sessions (completed_at DESC, session_id DESC) WHERE status = 'failed';
CREATE INDEX generation_sessions_retry ON generation_sessions (retry_of) WHERE retry_of IS NOT NULL;

-- The last frame of a video, where it was asked for.
ALTER TABLE media ADD COLUMN poster_key text;

ALTER TABLE uploads ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_sees_all ON uploads TO generation_service USING (true) WITH CHECK (true);
CREATE POLICY reader_sees_own ON uploads FOR SELECT TO generation_reader
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_inbox, gpu_slots TO generation_service;
GRANT SELECT, INSERT, DELETE ON uploads TO generation_service;
GRANT SELECT ON uploads TO generation_reader;

-- Prices. openai: what is held covers the costliest size of its class with three previews; what is captured goes by the output tokens,
-- 100 of them for each preview. A picture of 1024x1024 has 272, 1056 or 4160; tokens of other sizes are taken to grow with the pixels. The
-- rate of 40 USD for a million is that of gpt-image-1: retire these rows where the contract says something else.
INSERT INTO image_variant_pricing (model, resolution, quality, credits, usage_field, credits_per_unit, usd_per_unit)
SELECT model, resolution, quality, credits, 'output_tokens', 0.00533, 0.000040
FROM (VALUES ('gpt-image-2'), ('gpt-image-2.6')) AS m (model),
    (VALUES ('1K', 'low', 4), ('1K', 'medium', 11), ('1K', 'high', 35), ('2K', 'low', 7), ('2K', 'medium', 22), ('2K', 'high', 80)) AS p (resolution, quality, credits);

-- Sora, for gateways: OpenAI took 0.10 USD for a second.
INSERT INTO image_variant_pricing (model, resolution, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('sora-2', '720p', 14, 'second', 'seconds', 14, 0.10);

-- veo: Google says nothing of cost in its answers, so the seconds asked for are what is counted. A video that is filtered costs nothing.
INSERT INTO image_variant_pricing (model, resolution, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('veo-3.1', '720p', 53, 'second', 'seconds', 53, 0.40),
    ('veo-3.1', '1080p', 53, 'second', 'seconds', 53, 0.40),
    ('veo-3.1-fast', '720p', 16, 'second', 'seconds', 16, 0.12),
    ('veo-3.1-fast', '1080p', 16, 'second', 'seconds', 16, 0.12);

-- kie and speech:
-- One credit of ours for one of Kie's, which is half a US cent. What is held is the dearest way of asking; what is captured is Kie's own
-- count where its answer has one. Speech is counted by us, by the character: twelve of Kie's credits for a thousand.
INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('nano-banana', 4, 'creditsConsumed', 1, 0.005),
    ('speech-multilingual-2', 60, 'characters', 0.012, 0.00006);
INSERT INTO model_pricing (model, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('kling-2.6', 22, 'second', 'creditsConsumed', 1, 0.005);
INSERT INTO model_pricing (model, credits, usd_per_output) VALUES
    ('sound-effect-2', 6, 0.0264);
INSERT INTO image_variant_pricing (model, resolution, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('flux-2-pro', '1K', 5, 'output', 'creditsConsumed', 1, 0.005),
    ('flux-2-pro', '2K', 7, 'output', 'creditsConsumed', 1, 0.005),
    ('wan-2.6', '720p', 14, 'second', 'creditsConsumed', 1, 0.005),
    ('wan-2.6', '1080p', 21, 'second', 'creditsConsumed', 1, 0.005);

-- forge: our own machines, which send no bill
INSERT INTO model_pricing (model, credits, usd_per_output) VALUES ('forge-sdxl', 2, 0);

-- ark:

-- Seedance 2 mini is counted as its sisters are (0003_video.sql). Its rate is not documented either.
INSERT INTO image_variant_pricing (model, resolution, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('seedance-2-mini', '480p', 5, 'second', 'total_tokens', 0.000455, 0.0000035),
    ('seedance-2-mini', '720p', 10, 'second', 'total_tokens', 0.000455, 0.0000035);

-- Seedream 5, by the picture. Ark's prices of single pictures are not documented: the contract decides.
INSERT INTO model_pricing (model, credits, usd_per_output) VALUES ('seedream-5-lite', 5, 0.035), ('seedream-5-pro', 8, 0.06);
INSERT INTO image_variant_pricing (model, resolution, credits, usd_per_output) VALUES
    ('seedream-5-lite', '3K', 10, 0.035), -- as many pixels given in numbers count as 4K
    ('seedream-5-lite', '4K', 10, 0.035),
    ('seedream-5-pro', '4K', 16, 0.06);
