CREATE TABLE guest_groups (
    path TEXT PRIMARY KEY, -- tenant/department
    body BLOB NOT NULL -- JSON of model.group.GuestGroup
) STRICT, WITHOUT ROWID;
