CREATE TABLE repositories (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL -- Unix nanoseconds
) STRICT;

CREATE TABLE repository_blobs ( -- what a repository may serve
    repository TEXT NOT NULL REFERENCES repositories (name) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    added_at INTEGER NOT NULL, -- Unix nanoseconds
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX repository_blobs_digest ON repository_blobs (digest);

CREATE TABLE repository_manifests (
    repository TEXT NOT NULL REFERENCES repositories (name) ON DELETE CASCADE,
    digest TEXT NOT NULL REFERENCES manifests (digest),
    pushed_at INTEGER NOT NULL, -- Unix nanoseconds
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX repository_manifests_digest ON repository_manifests (digest);

CREATE TABLE repository_tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated_at INTEGER NOT NULL, -- Unix nanoseconds
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest)
        REFERENCES repository_manifests (repository, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX repository_tags_digest ON repository_tags (repository, digest);

CREATE TABLE registry_listeners (
    address TEXT PRIMARY KEY, -- host:port
    body BLOB NOT NULL -- JSON of model.registry.Listener
) STRICT;
