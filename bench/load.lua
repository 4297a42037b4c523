-- One client per thread, which sends a request, waits for the answer and repeats. Prints a line for every answer, for load.py.
-- wrk's summary includes the warm-up and does not tell which bodies were answered.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } bench_time; int clock_gettime(int clock, bench_time *time);")

local time = ffi.new("bench_time")
local clients = {}

local function now() -- seconds of CLOCK_MONOTONIC, which is Python's time.monotonic()
  ffi.C.clock_gettime(1, time)
  return tonumber(time.s) + tonumber(time.ns) / 1e9
end

function setup(thread)
  thread:set("number", #clients)
  table.insert(clients, thread)
end

function init(args) -- the file of bodies and the number of clients
  bodies, step, turn, answers = {}, tonumber(args[2]), number, {}
  for body in io.lines(args[1]) do
    table.insert(bodies, wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body))
  end
end

function request() -- client n of N sends bodies n, n + N, n + 2 N, ...
  asked = turn % #bodies
  turn = turn + step
  begun = now()
  return bodies[asked + 1]
end

function response(status)
  table.insert(answers, string.format("answer %.6f %.6f %d %d", begun, now(), status, asked))
end

function done(summary)
  for _, client in ipairs(clients) do
    for _, line in ipairs(client:get("answers")) do print(line) end
  end
  local e = summary.errors
  print(string.format("errors %d %d %d %d", e.connect, e.read, e.write, e.timeout))
end
