-- The state of a node. The first column of each row is the CRC-32 of the others. Times ("at", "published") are
-- state seconds: a clock that goes on across restarts, by means of the heartbeat in "meta".

CREATE TABLE meta (
    crc INTEGER NOT NULL,
    name TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- Items held for others (BEP 44). "key" is NULL for an immutable item; "host" is the host that put it, '' for this
-- node. With row ids: rows of a kilobyte cost twice as much in a clustered index.
CREATE TABLE item (
    crc INTEGER NOT NULL,
    target BLOB PRIMARY KEY,
    raw BLOB NOT NULL,
    key BLOB,
    signature BLOB NOT NULL,
    seq INTEGER NOT NULL,
    salt BLOB NOT NULL,
    host TEXT NOT NULL,
    at REAL NOT NULL
);

-- Items put through this node. An immutable one has no row in "item". "published" is when other nodes last took the
-- item, NULL for never.
CREATE TABLE own_item (
    crc INTEGER NOT NULL,
    target BLOB PRIMARY KEY,
    raw BLOB NOT NULL,
    key BLOB,
    signature BLOB NOT NULL,
    seq INTEGER NOT NULL,
    salt BLOB NOT NULL,
    at REAL NOT NULL,
    published REAL
);

-- Peers announced to this node: from which UDP address, and when. With the announcer '', 0: withdrawn, and when; with
-- the host '', too: a withdrawn peer of this node, whatever its address.
CREATE TABLE peer (
    crc INTEGER NOT NULL,
    key BLOB NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    announcer_host TEXT NOT NULL,
    announcer_port INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (key, host, port)
) WITHOUT ROWID;

-- Announces made through this node, to be renewed until they expire.
CREATE TABLE own_announce (
    crc INTEGER NOT NULL,
    key BLOB NOT NULL,
    port INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (key, port)
) WITHOUT ROWID;

-- Contacts of the routing table, and when each was last heard from.
CREATE TABLE contact (
    crc INTEGER NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    id BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (host, port)
) WITHOUT ROWID;
