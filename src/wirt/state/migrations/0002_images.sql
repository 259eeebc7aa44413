CREATE TABLE images (
    id TEXT PRIMARY KEY, -- digest of the configuration
    manifest TEXT NOT NULL,
    stored_at INTEGER NOT NULL, -- Unix nanoseconds
    forgotten INTEGER NOT NULL DEFAULT 0, -- removed by force; goes with the last guest that uses it
    body BLOB NOT NULL -- JSON of model.image.Image without references
) STRICT;

CREATE TABLE image_references (
    reference TEXT PRIMARY KEY, -- normalised: domain/path:tag
    image_id TEXT NOT NULL REFERENCES images (id)
) STRICT;

CREATE INDEX image_references_image ON image_references (image_id);

CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images (id),
    position INTEGER NOT NULL, -- base first
    chain_id TEXT NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL, -- bytes of the unpacked files
    PRIMARY KEY (image_id, position)
) STRICT;

CREATE INDEX image_layers_chain ON image_layers (chain_id);

CREATE TABLE image_blobs (
    image_id TEXT NOT NULL REFERENCES images (id),
    digest TEXT NOT NULL,
    PRIMARY KEY (image_id, digest)
) STRICT;

CREATE INDEX image_blobs_digest ON image_blobs (digest);

CREATE INDEX guests_image ON guests (image_id);
