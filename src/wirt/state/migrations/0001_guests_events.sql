CREATE TABLE guests (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    body BLOB NOT NULL -- JSON of model.guest.Guest
) STRICT;

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    body BLOB NOT NULL -- JSON of model.event.Event
) STRICT;

CREATE INDEX events_time ON events (time);
