-- In the order of their bytes, which no new version of a collation changes, and
-- which other databases share.
create table if not exists users (
    username text collate "C" primary key,
    date_of_birth date not null check (date_of_birth between '0001-01-01' and '9999-12-31')
);
