-- One row, once a load has begun: the number of the load that is read, if there is one yet, and of
-- the one that began last.
create table rates_loads (
    id integer primary key check (id = 1),
    current integer,
    newest integer not null
) strict;
