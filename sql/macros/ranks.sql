-- Rank of x inside its group, ties sharing their mean rank: corr() of two such columns is Spearman's correlation.
-- `grouping` is one expression; several columns go in as a row: average_rank((model, dataset), score).
-- A window function: use it in a CTE and aggregate in the next one.
create macro average_rank(grouping, x) as
    rank() over (partition by grouping order by x) + (count(*) over (partition by grouping, x) - 1) / 2.0;

-- Pearson correlation; NULL where a side does not vary, where corr() says NaN.
create macro correlation(x, y) as nullif(corr(x, y), 'nan'::double);
