-- Calls and tokens of each source and day: what to charge to whom.
SELECT day, source, count(*) AS calls,
       sum(usage.inputtokens) AS input_tokens, sum(usage.outputtokens) AS output_tokens,
       count_if(outcome <> 'complete' OR statuscode >= 400) AS not_well
FROM calls
WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
GROUP BY day, source
ORDER BY day, calls DESC
