CREATE TABLE boosts (
    target TEXT NOT NULL, -- a guest's id or a group's path
    is_group INTEGER NOT NULL,
    until INTEGER NOT NULL, -- Unix nanoseconds
    body BLOB NOT NULL, -- JSON of model.boost.Boost
    PRIMARY KEY (target, is_group)
) STRICT, WITHOUT ROWID;

CREATE TABLE calendar (
    id TEXT PRIMARY KEY,
    body BLOB NOT NULL -- JSON of model.boost.Entry
) STRICT, WITHOUT ROWID;
