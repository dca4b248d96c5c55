-- One token request, over and over. The credential comes by environment: a command line is everyone's to read.
-- With BENCH_AUTHORIZATIONS, a file of credentials, they take turns, beginning behind the first BENCH_FIRST of them.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["authorization"] = os.getenv("BENCH_AUTHORIZATION")
wrk.headers["content-type"] = "application/x-www-form-urlencoded"

local file = os.getenv("BENCH_AUTHORIZATIONS")
if file then
  local all, turn = {}, tonumber(os.getenv("BENCH_FIRST"))
  for line in io.lines(file) do all[#all + 1] = line end
  request = function()
    turn = turn % #all + 1
    wrk.headers["authorization"] = all[turn]
    return wrk.format()
  end
end

-- With BENCH_PAUSE_MS, each connection rests between its requests, so long on average: a load that is less than the server can
-- bear. By chance, as independent clients do: those that are answered together must not ask together for ever.
local pause = tonumber(os.getenv("BENCH_PAUSE_MS"))
if pause then
  delay = function() return math.floor(-pause * math.log(1 - math.random()) + 0.5) end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
