-- Each load has a number of its own, so that a new one can be written beside the one that is read.
create table regions (
    load integer not null,
    slug text not null,
    name text,
    parent_slug text,
    primary key (load, slug)
) strict, without rowid;
