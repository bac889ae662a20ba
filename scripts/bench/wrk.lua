-- Sends requests with the tokens of a file, one after the other, and prints the measurements as JSON. With a fourth
-- argument, the lines of the file are whole cookies.
local tokens, next = {}, 0
local before, after

function init(arguments)
  for line in io.lines(arguments[1]) do
    tokens[#tokens + 1] = line
  end
  local file = io.open(arguments[2])
  local text = file:read("*a"):gsub("\n", "\r\n")
  file:close()
  if arguments[3] then
    text = text:gsub("^GET %S+", "GET " .. arguments[3])
  end
  if arguments[4] then
    text = text:gsub("__Host%-session={token}", "{token}")
  end
  local place = text:find("{token}", 1, true)
  before, after = text:sub(1, place - 1), text:sub(place + 7)
  -- Each thread starts with a random token.
  next = math.random(#tokens)
end

function request()
  next = next % #tokens + 1
  return before .. tokens[next] .. after
end

function done(summary, latency)
  io.write(string.format(
    '\n{"requests":%d,"rps":%.1f,"p50_us":%d,"p99_us":%d,"p999_us":%d,"failed":%d}\n',
    summary.requests, summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  ))
end
