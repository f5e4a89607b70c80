-- A name without case and punctuation, so that `XLM-R-Base`, `xlm_r_base` and `XLM-R base` are one.
create macro plain_name(name) as regexp_replace(lower(name), '[^a-z0-9]', '', 'g');
