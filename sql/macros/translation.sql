-- Matched n-grams for n = 1 to 4, and n-grams of the output, out of sacreBLEU's counts: [output length,
-- reference length, 4 matched, 4 of the output].
create macro bleu_precision(totals, n) as
    case
        when totals[6 + n] is null or totals[2 + n] is null then null
        when totals[6 + n] = 0 then 0
        when totals[2 + n] > 0 then totals[2 + n] / totals[6 + n]
        -- The k-th order without a match counts as 1 / 2^k of a match (sacreBLEU's smoothing `exp`).
        else 1 / (2 ^ len(list_filter(totals[3:2 + n], lambda matched: matched = 0)) * totals[6 + n])
    end;

-- BLEU of a corpus as a share: brevity penalty times the geometric mean of the four precisions; 0 without a match. NULL
-- where a count is missing.
create macro bleu_of_counts(totals) as
    case
        when not (len(totals) >= 10 and is_complete(totals)) then null
        when list_sum(totals[3:6]) = 0 or totals[1] = 0 or list_min(totals[7:10]) = 0 then 0
        else least(1, exp(1 - totals[2] / totals[1])) * exp((
            ln(bleu_precision(totals, 1)) + ln(bleu_precision(totals, 2))
            + ln(bleu_precision(totals, 3)) + ln(bleu_precision(totals, 4))
        ) / 4)
    end;

-- F2 of precision and recall.
create macro f2(p, r) as
    case when isfinite(p) and isfinite(r) then case when p + r > 0 then 5 * p * r / (4 * p + r) else 0 end end;

-- chrF2 of a corpus as a share, from [output, reference, matched] character n-grams for n = 1 to 6: precision and
-- recall are means over the orders that both sides have. NULL where a count is missing.
create macro chrf_of_counts(totals) as
    case when len(totals) >= 18 and is_complete(totals) then f2(
        coalesce(list_avg([
            totals[3 * n] / totals[3 * n - 2] for n in range(1, 7) if totals[3 * n - 2] > 0 and totals[3 * n - 1] > 0
        ]), 0),
        coalesce(list_avg([
            totals[3 * n] / totals[3 * n - 1] for n in range(1, 7) if totals[3 * n - 2] > 0 and totals[3 * n - 1] > 0
        ]), 0)
    ) end;
