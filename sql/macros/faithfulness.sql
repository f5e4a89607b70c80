-- The span 1 - S0 that faithfulness is normalised by: what masking everything costs, max(0, p(x) - p(empty)).
create macro faithfulness_span(p_full, p_empty) as
    case when isfinite(p_full - p_empty) then greatest(0.0, p_full - p_empty) end;

-- What a perturbation costs, max(0, p(x) - p(perturbed)): 1 - sufficiency, or comprehensiveness.
create macro perturbation_cost(p_full, p_perturbed) as
    case when isfinite(p_full - p_perturbed) then greatest(0.0, p_full - p_perturbed) end;

-- Normalised sufficiency, clip((Suff - S0) / (1 - S0), 0, 1), or comprehensiveness, clip(Comp / (1 - S0), 0, 1), of one
-- perturbed input; `slack` is added to 1 - S0 and to Suff - S0, as the published code does. NULL where 1 - S0 is 0.
-- Source: arXiv 2403.12809, section 3.
create macro normalized_faithfulness(side, p_full, p_perturbed, p_empty, slack := 0.0) as
    case when side is not null and faithfulness_span(p_full, p_empty) + slack > 0
        and isfinite(slack) and perturbation_cost(p_full, p_perturbed) is not null
        then greatest(0.0, least(1.0,
            case
                when side = 'sufficiency'
                    then faithfulness_span(p_full, p_empty) + slack - perturbation_cost(p_full, p_perturbed)
                else perturbation_cost(p_full, p_perturbed)
            end
            / (faithfulness_span(p_full, p_empty) + slack)))
    end;
