-- The load of all peers: `wrk -s numbers.lua URL -- AUTHORIZATION FIRST COUNT BATCH`, BATCH numbers a request, at random of
-- the COUNT from FIRST on, or, with COUNT 0, each one after the other. Prints requests, microseconds, p50 and p99 in
-- microseconds, and how much failed.

local first, count, at, head
local batches = {}

local function number()
  if count > 0 then
    return string.format("%.0f", first + math.random(0, count - 1))
  end
  at = at + 1
  return string.format("%.0f", first + at)
end

local function post(numbers)
  local body = '{"Numbers": ["' .. numbers .. '"], "Mode": "PhoneToUID"}'
  return head .. #body .. "\r\n\r\n" .. body
end

function init(args)
  first, count, at = tonumber(args[2]), tonumber(args[3]), 0
  head = "POST / HTTP/1.1\r\nhost: peer\r\nauthorization: " .. args[1] ..
    "\r\ncontent-type: application/json\r\ncontent-length: "
  local batch = tonumber(args[4])
  -- Made before: one takes longer to make than callveil takes to map it.
  for made = 1, batch > 1 and 50 or 0 do
    local numbers = {}
    for item = 1, batch do
      numbers[item] = number()
    end
    batches[made] = post(table.concat(numbers, '", "'))
  end
end

function request()
  if #batches > 0 then
    at = at % #batches + 1
    return batches[at]
  end
  return post(number())
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print("DONE", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed)
end
