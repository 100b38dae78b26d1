create table ports (
    load integer not null,
    code text not null,
    name text,
    parent_slug text,
    primary key (load, code)
) strict, without rowid;
