-- wrk: the calls of a JSON lines file, one after another; each line {"path":…, "body":…, "capture":…}.
-- Which file, the environment says (BENCH_CALLS); wrk has no JSON, so lines are tab-separated: path, capture, body file.
local calls = {}
for line in io.lines(os.getenv("BENCH_CALLS")) do
  local path, capture, file = line:match("([^\t]*)\t([^\t]*)\t([^\t]*)")
  local handle = io.open(file, "rb")
  local headers = {
    ["content-type"] = "application/json", ["authorization"] = "Bearer x",
    ["x-llm-source"] = "bench", ["x-llm-user"] = "ann", ["x-llm-request-type"] = "ask",
  }
  if capture ~= "" then headers["x-bench-capture"] = capture end
  calls[#calls + 1] = { path = path, headers = headers, body = handle:read("*a") }
  handle:close()
end
local formatted = {}
local at = 0
init = function(args)
  for i, call in ipairs(calls) do formatted[i] = wrk.format("POST", call.path, call.headers, call.body) end
end
request = function()
  at = at % #formatted + 1
  return formatted[at]
end
