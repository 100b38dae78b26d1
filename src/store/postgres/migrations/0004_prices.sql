-- The prices of a day between two ports: their number, equal ones included, and their sum. Every
-- mean is made of these, in half the space and time of single prices.
create table if not exists prices (
    orig_code text collate "C",
    dest_code text collate "C",
    day date,
    count bigint not null check (count > 0),
    sum bigint not null,
    primary key (orig_code, dest_code, day)
);
