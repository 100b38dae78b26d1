create table users (
    username text primary key,
    date_of_birth text not null
) strict, without rowid;
