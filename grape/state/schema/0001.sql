-- What a grape keeps. The first column of a row is the CRC-32 of the others. Times ("at", "published") are in
-- state seconds: a clock that goes on across restarts, see the heartbeat in "meta".

CREATE TABLE meta (
    crc INTEGER NOT NULL,
    name TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- Items kept for others (BEP 44). "key" is NULL for an immutable one; "host" is who put it, '' this grape itself.
-- Rows of this size are cheaper in a table with row ids.
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

-- Items that were put through this grape; they are not in "item", too. "published" is when others took them last, NULL if nobody has.
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

-- Peers announced here: when, and from which UDP address.
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

-- Announces that were made through this grape, to be renewed while they live.
CREATE TABLE own_announce (
    crc INTEGER NOT NULL,
    key BLOB NOT NULL,
    port INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (key, port)
) WITHOUT ROWID;

-- Nodes that answered, and when they did last.
CREATE TABLE contact (
    crc INTEGER NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    id BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (host, port)
) WITHOUT ROWID;
