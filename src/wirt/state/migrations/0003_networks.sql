CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    bridge TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    body BLOB NOT NULL -- JSON of model.network.Network
) STRICT;

-- Who has which address. A network with addresses cannot go.
CREATE TABLE addresses (
    network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE RESTRICT,
    address TEXT NOT NULL,
    guest_id TEXT NOT NULL,
    PRIMARY KEY (network_id, address),
    UNIQUE (guest_id, network_id)
) STRICT, WITHOUT ROWID;
