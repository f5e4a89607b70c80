-- A name without case and punctuation, so that `XLM-R-Base`, `xlm_r_base` and `XLM-R base` are one.
create macro plain_name(name) as regexp_replace(lower(name), '[^a-z0-9]', '', 'g');

-- Harmonic mean of two shares, as F1 of precision and recall; 0 where both are 0, NULL where one is missing.
create macro harmonic_mean(a, b) as case when a + b > 0 then finite(2 * a * b / (a + b)) when a + b = 0 then 0.0 end;
