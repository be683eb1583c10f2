-- The prices of Seedance: held by the second, captured by Ark's tokens (width × height × (24 × seconds + 1) / 1024), so that a video
-- never costs more than was held. The rate is what one 720p token costs in the most token-hungry ratio at the shortest duration, where
-- the one frame more than whole seconds weighs most; a longer video gives a little back. A resolution without a row cannot be sold.
--
-- Ark lists 7.0 USD for a million tokens of Seedance 2 (1080p: 7.7). For the fast one and for Seedance 1 the contract decides: retire
-- these rows where it says something else (ARCHITECTURE.md, "To change a price").
INSERT INTO image_variant_pricing (model, resolution, credits, per, usage_field, credits_per_unit, usd_per_unit) VALUES
    ('seedance-2', '480p', 10, 'second', 'total_tokens', 0.00091, 0.0000070),
    ('seedance-2', '720p', 20, 'second', 'total_tokens', 0.00091, 0.0000070),
    ('seedance-2', '1080p', 50, 'second', 'total_tokens', 0.001, 0.0000077),
    ('seedance-2-fast', '480p', 8, 'second', 'total_tokens', 0.000728, 0.0000056),
    ('seedance-2-fast', '720p', 16, 'second', 'total_tokens', 0.000728, 0.0000056),
    ('seedance-1-pro', '480p', 4, 'second', 'total_tokens', 0.000325, 0.0000025),
    ('seedance-1-pro', '720p', 8, 'second', 'total_tokens', 0.000325, 0.0000025),
    ('seedance-1-pro', '1080p', 17, 'second', 'total_tokens', 0.000325, 0.0000025);
