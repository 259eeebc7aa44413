CREATE TABLE store_uses ( -- when what can be made again was used last
    kind TEXT NOT NULL, -- layer (by chain id) or disk (by image id)
    name TEXT NOT NULL,
    used_at INTEGER NOT NULL, -- Unix nanoseconds
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
