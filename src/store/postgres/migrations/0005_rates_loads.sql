-- One row, once rates are loaded. Each load gives it another version, by which a service learns
-- that the regions it knows are of an earlier one.
create table if not exists rates_loads (
    id integer primary key check (id = 1),
    version bigint not null
);
