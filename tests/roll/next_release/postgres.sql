-- The language that somebody is greeted in. Releases that know none leave it empty.
alter table users add column if not exists language text;
