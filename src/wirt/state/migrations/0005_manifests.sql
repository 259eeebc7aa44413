CREATE TABLE manifests ( -- every manifest, index and artifact whose bytes are in the store
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    artifact_type TEXT NOT NULL, -- what a list of referrers answers; "" when it says none
    subject TEXT NOT NULL, -- digest of the document it speaks about, "" when none
    annotations TEXT NOT NULL, -- JSON object of strings
    size INTEGER NOT NULL, -- bytes of the document
    stored_at INTEGER NOT NULL -- Unix nanoseconds
) STRICT;

CREATE INDEX manifests_subject ON manifests (subject) WHERE subject != '';

CREATE TABLE manifest_parts ( -- what a document names; a part need not be in the store
    manifest TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL, -- as in the document; the configuration is 0
    digest TEXT NOT NULL,
    role TEXT NOT NULL, -- manifest, config or layer
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    platform TEXT NOT NULL, -- os/architecture[/variant], "" when not said
    PRIMARY KEY (manifest, position)
) STRICT;

CREATE INDEX manifest_parts_digest ON manifest_parts (digest);

-- the manifest or index that the name means; the image is the one of it for this host
ALTER TABLE image_references ADD COLUMN target TEXT NOT NULL DEFAULT '';

UPDATE image_references SET target = (SELECT manifest FROM images WHERE id = image_id);
