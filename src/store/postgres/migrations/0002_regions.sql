create table if not exists regions (
    slug text collate "C" primary key,
    name text,
    parent_slug text collate "C"
);
