-- Whether the attributions of both sides of a comparison converged: NULL for methods without completeness.
create macro both_converged(one, other) as
    case when not one or not other then false else coalesce(one, other) end;

-- Whether a row counts in a variant, by whether its attribution converged: `strict` leaves out those that did not. What
-- has no completeness, and so no such flag, counts.
create macro counts_in(variant, converged) as variant is distinct from 'strict' or converged is distinct from false;
