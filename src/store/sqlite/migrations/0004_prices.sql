-- The prices of a day between two ports: their number, equal ones included, and their sum. Every
-- mean is made of these, in half the space and time of single prices. A day is counted from
-- 1970-01-01.
create table prices (
    load integer not null,
    orig_code text not null,
    dest_code text not null,
    day integer not null,
    count integer not null check (count > 0),
    sum integer not null,
    primary key (load, orig_code, dest_code, day)
) strict, without rowid;
