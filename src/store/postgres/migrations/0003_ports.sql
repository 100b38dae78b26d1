create table if not exists ports (
    code text collate "C" primary key,
    name text,
    parent_slug text collate "C"
);
