CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    body BLOB NOT NULL -- JSON of model.volume.Volume
) STRICT;
