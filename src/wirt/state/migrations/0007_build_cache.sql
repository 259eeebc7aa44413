-- Results of build steps. What they name is kept from collection as long as the row is there.
CREATE TABLE build_cache (
    key TEXT PRIMARY KEY, -- digest of all inputs
    site TEXT NOT NULL, -- which step of which build, for explanations
    inputs TEXT NOT NULL, -- JSON: name of each input to its digest
    chain_id TEXT NOT NULL,
    diff_id TEXT NOT NULL, -- empty: the step changed nothing
    blob TEXT NOT NULL,
    size INTEGER NOT NULL, -- bytes of files
    blob_size INTEGER NOT NULL,
    made_at INTEGER NOT NULL, -- Unix nanoseconds
    used_at INTEGER NOT NULL
) STRICT;

CREATE INDEX build_cache_site ON build_cache (site, made_at);
CREATE INDEX build_cache_chain ON build_cache (chain_id);
CREATE INDEX build_cache_blob ON build_cache (blob);
CREATE INDEX build_cache_used ON build_cache (used_at);
