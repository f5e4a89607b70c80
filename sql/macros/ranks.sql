-- Rank of x inside its group, ties sharing their mean rank: corr() of two such columns is Spearman's correlation. NULL
-- where x is NULL, NaN or infinite. `grouping` is one expression; several columns go in as a row:
-- average_rank((model, dataset), score). A window function: use it in a CTE and aggregate in the next one.
create macro average_rank(grouping, x) as
    case when isfinite(x) then
        rank() over (partition by grouping, coalesce(isfinite(x), false) order by x)
        + (count(*) over (partition by grouping, x) - 1) / 2.0
    end;

-- Pearson correlation; NULL where a side does not vary, where corr() says NaN.
create macro correlation(x, y) as
    case when isfinite(corr(x, y)) then greatest(-1.0, least(1.0, corr(x, y))) end;
