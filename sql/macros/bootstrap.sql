-- One round of mixing a number below 2^31 - 1: squaring modulo that prime, in whole numbers, the same everywhere.
create macro mixed(x) as (x * x + 1013904223) % 2147483647;

-- A number in (0, 1) that looks random, fixed by two counters.
create macro counted_uniform(i, j) as
    (mixed(mixed(mixed(mixed((i * 7919 + j * 104729 + 1) % 2147483647)))) + 0.5) / 2147483647.0;
