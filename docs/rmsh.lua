-- A Wireshark dissector for the remote_shell protocol, version 1 (docs/protocol.md), as `tcp:` connections carry it.
--
--   wireshark -X lua_script:docs/rmsh.lua          this once; or copy it to Help > About > Folders > Personal Lua Plugins
--   tshark -X lua_script:docs/rmsh.lua -i lo -O rmsh
--
-- A connection is found by its first frame, `hello`, whatever its port. Where another protocol has the port: `-d tcp.port==8822,rmsh`,
-- or "Decode As"; for always: `-o rmsh.ports:8822`. Each member of a message is a field, rmsh.MESSAGE.MEMBER; docs/wireshark.md has more.
-- What our own decoder (remote_shell/wire) refuses is refused here, by the same code. For Wireshark 4.0 (Lua 5.2) to 4.4 (Lua 5.4).

local rmsh = Proto("rmsh", "remote_shell")
local PREAMBLE = "\0remote-shell pipe 1\n" -- what `remote-shell pipe` says first
local HEADER, LOGIN_MAX = 9, 4096 -- bytes: a frame's header, a payload before the end of the login
local DEPTH_MAX, DIGITS_MAX = 32, 4300 -- of JSON, as our decoder and its reader have them
local TYPES = { [0] = "stdin", [1] = "stdout", [2] = "stderr", [3] = "control" }

-- Messages, with their members as MEMBER:KIND[COUNTS]MARK. KIND is LEAST..MOST of integers, choices a|b, @OBJECT, or a name that stands
-- below; COUNTS make an array of it. MARK: ! it must be there; ? null is the same as absent. tests/wireshark compares the code's.
local MESSAGES = {
  hello = "version:int software:text! features:word[0..32]? nonce:base64! frame_max:int! window:int! unacked_bytes_max:int! " ..
    "unacked_frames_max:int! prompt:bool! instance:word?",
  auth = "method:key|secret|peer|invite! keys:@key_proof[0..8]? secret:word? proof:base64? invite:word? " ..
    "label:word? user:text? session:word? received:int on_lost:kill|keep grace_ms:int?",
  welcome = "session:word! resumed:bool! received:int! principal:text! account:text! host:text! grace_ms:int! left:int proof:base64?",
  enrolled = "proof:base64! account:text! host:text! again:bool",
  denied = "", ack = "received:int! sent:int!", ping = "received:int! sent:int!", pong = "received:int! sent:int!",
  disconnect = "code:word! detail:text",
  open = "request:exec|shell|query|attach|shells|jobs|job_logs|job_wait|job_signal|job_remove|put|get|connect|listen|accept! id:id! " ..
    "window:int! argv:string[]? line:string? subsystem:word? cwd:string? env:pair[]? env_add:pair[]? env_offer:pair[]? " ..
    "stdin:pipe|null merge_stderr:bool terminal:@terminal? timeout_ms:int? once:bool detach:bool follow:bool from_now:bool " ..
    "stdout_from:int stderr_from:int signal:signal? force:bool host:text? port:0..65535? paths:path[1..1024]? to:string? " ..
    "recursive:bool",
  opened = "pid:int? cwd:string? started_at_ms:int term:word? shell:word? again:bool port:0..65535?",
  attached = "pid:int? cwd:string? first_cwd:string? started_at_ms:int term:word? shell:word? number:int line:string? status:0..255? " ..
    "signal:signal? missed:int dropped:int away_ms:int",
  detached = "by:text", shells = "shells:@left_shell[0..32]!",
  job = "id:id! state:running|finished|unknown! command:text cwd:string? pid:int? started_at_ms:int? ended_at_ms:int? status:0..255? " ..
    "signal:signal? timed_out:bool duration_us:int trouble:text stdout_at:int? stderr_at:int?",
  jobs = "count:int!", gap = "stream:0..2! dropped:int!", accepted = "id:id! peer:text!",
  rejected = "code:word! detail:text errno:word?",
  exit = "status:0..255? signal:signal? timed_out:bool duration_us:int", eof = "stream:0..2!", close = "",
  window = "credit:int! window:int!", signal = "signal:signal! command:int?",
  resize = "rows:1..65535! columns:1..65535!", mode = "number:int! mode:cooked|no_echo|raw!",
  line = "mode:int! text:string! end:newline|eof", unread = "text:string!",
  command = "number:int! line:string! stdin:bool timeout_ms:int?", detach = "", input_end = "number:int!",
  done = "number:int! status:0..255? signal:signal? cwd:string? statuses:0..255[0..256]? duration_us:int timed_out:bool " ..
    "shell:alive|ended|replaced",
  report = "state:never_received|running|finished|unknown! status:0..255? signal:signal? timed_out:bool",
  entry = "number:int! source:int! path:path! kind:file|folder|symlink! size:int mode:0..511 mtime_s:int mtime_ns:0..999999999 " ..
    "target:path? sha256:sha256?",
  wanted = "number:int! offset:int sha256:sha256?", content = "number:int! offset:int", seek = "offset:int!",
  entry_end = "sha256:sha256? errno:word? detail:text", skipped = "source:int! path:path! errno:word? detail:text",
  stored = "numbers:1..9007199254740991[1..1024]!", entry_failed = "number:int! errno:word? detail:text kept:int",
}
local OBJECTS = {
  key_proof = "key:base64! proof:base64!",
  terminal = "term:word! rows:1..65535! columns:1..65535!",
  left_shell = "id:id! started_at_ms:int! cwd:string! line:string? ended:bool away_ms:int? holder:text",
}
local STRINGS = { -- at most so many characters, and a pattern
  word = { 64, "^[A-Za-z0-9._:/+@%-]+$" },
  id = { 64, "^[A-Za-z0-9._%-]+$" },
  text = { 1024, "" },
  base64 = { 1024, "^[A-Za-z0-9+/]*=?=?$" },
  signal = { 16, "^SIG[A-Z0-9+%-]+$" },
  sha256 = { 64, "^" .. ("[0-9a-f]"):rep(64) .. "$" },
}
local SYSTEM_STRINGS = { string = { math.huge, math.huge }, path = { 4096, 5465 } } -- characters as a string, and in base64
local INFO = { -- what the Info column says of a message behind its name and channel; `name=` tells the name too
  hello = "software", auth = "method received=", enrolled = "account host",
  welcome = "account host resumed= received=", disconnect = "code detail",
  ack = "received= sent=", ping = "received= sent=", pong = "received= sent=", exit = "status= signal=", eof = "stream=",
  open = "request argv line subsystem host port signal paths to", opened = "pid= shell port=", rejected = "code detail",
  window = "credit= window=", signal = "signal", resize = "rows= columns=", command = "number line", done = "number status= signal= cwd",
  mode = "number mode", line = "text", unread = "text", input_end = "number", report = "state status= signal=", job = "id state command",
  jobs = "count", gap = "stream= dropped=", accepted = "id peer", attached = "pid= number= missed=", detached = "by", seek = "offset",
  entry = "number path kind size=", wanted = "number offset=", content = "number offset=", skipped = "path errno", stored = "numbers",
  entry_failed = "number errno", entry_end = "errno",
}

-- Fields

local f = {
  length = ProtoField.uint32("rmsh.length", "Length"),
  type = ProtoField.uint8("rmsh.type", "Type", base.DEC, TYPES),
  channel = ProtoField.uint32("rmsh.channel", "Channel"),
  data = ProtoField.bytes("rmsh.data", "Data"),
  json = ProtoField.string("rmsh.json", "JSON"), -- a control payload that is no message
  message = ProtoField.string("rmsh.message", "Message"),
  fault = ProtoField.string("rmsh.fault", "Fault"), -- the code with which our decoder refuses the frame or the message
  member = ProtoField.string("rmsh.member", "Member"), -- one that the message does not have, or whose value has another type
  empty = ProtoField.string("rmsh.empty", "Empty array"), -- the name of the member
  null = ProtoField.string("rmsh.null", "Null"), -- the name of the member
  base64 = ProtoField.string("rmsh.base64", "Base64"), -- of a string that is not UTF-8, below it
  preamble = ProtoField.string("rmsh.preamble", "Preamble of `remote-shell pipe`"),
  noise = ProtoField.bytes("rmsh.noise", "Before the preamble"),
  undecoded = ProtoField.bytes("rmsh.undecoded", "Not decoded"),
}
local e = {}
local FAULTS = { -- the codes of section 10
  frame_too_large = "The length is above the agreed one", empty_frame = "The length is 0", unknown_frame_type = "The type is above 3",
  data_on_channel_zero = "Channel 0 carries control only", bad_json = "The payload is not JSON in UTF-8",
  bad_message = "Not what the message's table says", unknown_message = "No such message",
}
for name, text in pairs(FAULTS) do
  e[name] = ProtoExpert.new("rmsh." .. name, text, expert.group.PROTOCOL, expert.severity.ERROR)
end
local REPEATED = "The member is repeated: the last counts"
e.repeated = ProtoExpert.new("rmsh.repeated", REPEATED, expert.group.PROTOCOL, expert.severity.WARN)
e.no_border = ProtoExpert.new("rmsh.no_border", "Where frames begin is not known up to the next control frame: the capture began in " ..
  "mid-stream, it lacks a segment, or the frame before was refused", expert.group.SEQUENCE, expert.severity.WARN)
e.cut = ProtoExpert.new("rmsh.cut", "The rest of the frame is not to be had: packets were captured in part, or the preference " ..
  "tcp.desegment_tcp_streams is off", expert.group.REASSEMBLE, expert.severity.WARN)

local fields, experts = {}, {}
for _, field in pairs(f) do fields[#fields + 1] = field end
for _, field in pairs(e) do experts[#experts + 1] = field end

-- The members of a message or an object; they become fields below `prefix`.
local function compile(prefix, spec)
  local members = {}
  for name, kind, counts, mark in spec:gmatch("([%w_]+):([^%s%[!?]+)(%[?[%d.]*%]?)([!?]?)") do
    local member, path, make = { name = name, kind = kind, mark = mark }, prefix .. "." .. name, ProtoField.string
    if counts ~= "" then
      local least, most = counts:match("(%d+)%.%.(%d+)")
      member.count_least, member.count_most = tonumber(least or 0), tonumber(most or math.huge)
    end
    local least, most = (kind == "int" and "0..9007199254740991" or kind):match("^(%d+)%.%.(%d+)$")
    if least then
      member.least, member.most, make = tonumber(least), tonumber(most), ProtoField.uint64
    elseif kind == "bool" then
      make = ProtoField.bool
    elseif kind:sub(1, 1) == "@" then
      member.members, make = compile(path, OBJECTS[kind:sub(2)]), ProtoField.none
    elseif not STRINGS[kind] and not SYSTEM_STRINGS[kind] and kind ~= "pair" then
      member.choices = "|" .. kind .. "|"
    end
    member.field = make(path, name)
    fields[#fields + 1] = member.field
    members[name], members[#members + 1] = member, member
  end
  return members
end
for name, spec in pairs(MESSAGES) do
  MESSAGES[name] = compile("rmsh." .. name, spec)
  MESSAGES[name].is_message = true
end
rmsh.fields, rmsh.experts = fields, experts
rmsh.prefs.ports = Pref.range("TCP ports", "", "Ports of servers; others are found by their first frame", 65535)
rmsh.prefs.frame_max = Pref.uint("Largest frame", 1048576, "Payload bytes, where the hello that says so was not captured")

-- JSON: values are tables of kind, value (a string's, a number's), from and to (indexes into the text), and of what is inside.

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function fail(at, why) error({ why = why .. " at byte " .. at - 1 }, 0) end

local function utf8_of(code)
  if code < 0x80 then return string.char(code) end
  local tail, first = "", code < 0x800 and 0xC0 or code < 0x10000 and 0xE0 or 0xF0
  for _ = 1, code < 0x800 and 1 or code < 0x10000 and 2 or 3 do
    tail, code = string.char(0x80 + code % 64) .. tail, math.floor(code / 64)
  end
  return string.char(first + code) .. tail
end

-- The text with one character for each that is beyond ASCII; what is no UTF-8 stays, as bytes above 127.
local function narrow(text)
  if not text:find("[\128-\255]") then return text end
  for _, pattern in ipairs({ "[\194-\223]", "\224[\160-\191]", "[\225-\236\238\239][\128-\191]", "\237[\128-\159]",
    "\240[\144-\191][\128-\191]", "[\241-\243][\128-\191][\128-\191]", "\244[\128-\143][\128-\191]" }) do
    text = text:gsub(pattern .. "[\128-\191]", "?")
  end
  return text
end

local function parse_string(text, from)
  local parts, at = {}, from + 1
  while true do
    local plain, stop = text:match('^([^"\\\0-\31]*)()', at)
    local sign, escape = text:sub(stop, stop), text:sub(stop + 1, stop + 1)
    parts[#parts + 1] = plain
    if sign == '"' then return { kind = "string", value = table.concat(parts), from = from, to = stop } end
    if sign ~= "\\" then fail(stop, "a string without its end, or a control character in it") end
    at = stop + 2
    if escape == "u" then
      local code, low = tonumber(text:match("^%x%x%x%x", at) or fail(at, "a bad escape"), 16), nil
      at = at + 4
      if code >= 0xD800 and code < 0xE000 then
        low = code < 0xDC00 and text:match("^\\u([dD][c-fC-F]%x%x)", at) or fail(at, "a lone surrogate")
        code, at = 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00, at + 6
      end
      parts[#parts + 1] = utf8_of(code)
    else
      parts[#parts + 1] = ESCAPES[escape] or fail(stop, "a bad escape")
    end
  end
end

local function parse_number(text, from)
  local digits, stop = text:match("^%-?(%d+)()", from)
  if not digits or digits:find("^0%d") or #digits > DIGITS_MAX then fail(from, "no value") end
  local rest = text:match("^%.%d+()", stop) or stop
  rest = text:match("^[eE][+-]?%d+()", rest) or rest
  local kind = rest == stop and "integer" or "float"
  return { kind = kind, value = tonumber(text:sub(from, rest - 1)), from = from, to = rest - 1 }
end

-- More than DEPTH_MAX arrays and objects within one another, in what is no JSON too.
local function is_deeper(text)
  local depth, at = 0, 1
  for _ = 1, #text do
    at = text:find('["%[%]{}]', at)
    if not at then return false end
    local sign = text:sub(at, at)
    if sign == '"' then
      repeat -- to its end, over what is escaped
        at = text:find('["\\]', at + 1)
        local escape = at and text:sub(at, at) == "\\"
        if escape then at = at + 1 end
      until not escape
      if not at then return false end
    else
      depth = depth + ((sign == "[" or sign == "{") and 1 or -1)
      if depth > DEPTH_MAX then return true end
    end
    at = at + 1
  end
  return false
end

local function parse_value(text, at)
  local function skip(to) return text:match("^[ \t\r\n]*()", to) end
  at = skip(at)
  local sign = text:sub(at, at)
  if sign == '"' then return parse_string(text, at) end
  if sign ~= "{" and sign ~= "[" then
    local word = text:match("^%l+", at)
    if word == "true" or word == "false" then return { kind = "boolean", value = word == "true", from = at, to = at + #word - 1 } end
    return word == "null" and { kind = "null", from = at, to = at + 3 } or parse_number(text, at)
  end
  local found, from, close = { kind = sign == "{" and "object" or "array" }, at, sign == "{" and "}" or "]"
  at = skip(at + 1)
  if text:sub(at, at) ~= close then
    repeat
      local key
      if sign == "{" then
        at = skip(at)
        key = text:sub(at, at) == '"' and parse_string(text, at) or fail(at, "no name of a member")
        at = skip(key.to + 1)
        if text:sub(at, at) ~= ":" then fail(at, "no colon") end
        at = at + 1
      end
      local value = parse_value(text, at)
      found[#found + 1] = key and { name = key.value, from = key.from, to = value.to, value = value } or value
      at = skip(value.to + 1) + 1
      local comma = text:sub(at - 1, at - 1)
      if comma ~= "," and comma ~= close then fail(at - 1, "neither a comma nor " .. close) end
    until comma == close
    at = at - 1
  end
  found.from, found.to = from, at
  if sign == "{" then -- of repeated members the last counts
    for number, pair in ipairs(found) do
      found.last = found.last or {}
      found.last[pair.name] = number
    end
  end
  return found
end

-- The value, or nil and what is wrong.
local function parse(text)
  if narrow(text):find("[\128-\255]") then return nil, "bad UTF-8" end
  if is_deeper(text) then return nil, "nested too deep" end
  local good, found = pcall(parse_value, text, 1)
  if good then
    local rest = text:match("^[ \t\r\n]*()", found.to + 1)
    if rest <= #text then return nil, "more than one value, at byte " .. rest - 1 end
    return found
  end
  if type(found) ~= "table" then error(found, 0) end -- a fault of ours is not the sender's
  return nil, found.why
end

-- Values and members

local function get(object, name)
  local number = object.last and object.last[name]
  return number and object[number].value
end

local function hex(byte) return ("\\x%02x"):format(byte:byte()) end

-- A system string: its text, and its base64 if it is not UTF-8; nil if it is none.
local function system_string(node, kind)
  local most = SYSTEM_STRINGS[kind]
  if node.kind == "string" then return #narrow(node.value) <= most[1] and node.value or nil end
  local inner = node.kind == "object" and get(node, "base64")
  if not inner or inner.kind ~= "string" or next(node.last, next(node.last)) then return nil end
  if #inner.value > most[2] or not inner.value:find("^[A-Za-z0-9+/]*=?=?$") then return nil end
  if #inner.value % 4 > 0 then return "(bad base64)", inner.value end
  local raw = inner.value == "" and "" or ByteArray.new(inner.value, true):base64_decode():raw()
  return raw:gsub("[^\32-\126]", hex), inner.value
end

-- What a field shows of a value, and base64; nil if the value does not fit the member.
local function shown(node, member)
  local kind, value = member.kind, node.value
  if member.least then
    if node.kind ~= "integer" or value < member.least or value > member.most then return nil end
    return UInt64(value % 2 ^ 32, math.floor(value / 2 ^ 32))
  elseif kind == "bool" then
    if node.kind == "boolean" then return value end
  elseif SYSTEM_STRINGS[kind] then
    return system_string(node, kind)
  elseif kind == "pair" then
    if node.kind ~= "array" or #node ~= 2 then return nil end
    local name, name_64 = system_string(node[1], "string")
    local text, text_64 = system_string(node[2], "string")
    if name and text then return name .. "=" .. text, (name_64 or text_64) and (name_64 or "") .. "=" .. (text_64 or "") or nil end
  elseif node.kind == "string" then
    if member.choices then
      return not value:find("|", 1, true) and value ~= "" and member.choices:find("|" .. value .. "|", 1, true) and value or nil
    end
    local rule = STRINGS[kind]
    return rule and #narrow(value) <= rule[1] and value:find(rule[2]) and value or nil
  end
end

-- Text for a field: C strings end at a NUL, so its sign stands in its place; bytes that are no UTF-8 are written out.
local function printable(value)
  if type(value) ~= "string" then return value end
  if narrow(value):find("[\128-\255]") then value = value:gsub("[\128-\255]", hex) end
  return (value:gsub("\0", "\226\144\128"))
end

local function short(text)
  return #text > 80 and text:sub(1, 80):gsub("[\192-\255][\128-\191]*$", "") .. "…" or text
end

-- Adds the members of an object to the tree; `range(node)` are the bytes of a value. Returns the first fault, or nil.
local function add_members(tree, range, text, object, members)
  local fault, remarks = nil, {}
  local function remark(item, which, why) -- each is five items of the tree, and Wireshark takes a million of a packet
    remarks[which] = (remarks[which] or 0) + 1
    if remarks[which] <= 100 then item:add_proto_expert_info(which, why) end
  end
  local function wrong(item, why)
    remark(item, e.bad_message, why)
    fault = fault or why
  end
  local function add(member, pair, node)
    local value, base64 = shown(node, member)
    if member.members and node.kind == "object" then
      fault = add_members(tree:add(member.field, range(pair)), range, text, node, member.members) or fault
    elseif value == nil then
      local item = tree:add(f.member, range(pair), printable(pair.name .. ": " .. text:sub(node.from, node.to)))
      wrong(item, pair.name .. " is not of its kind")
    else
      local item = tree:add(member.field, range(pair), printable(value))
      if base64 then item:add(f.base64, range(node), base64) end
    end
  end
  for number, pair in ipairs(object) do
    local member, node = members[pair.name], pair.value
    if object.last[pair.name] ~= number then
      remark(tree:add(f.member, range(pair), printable(text:sub(pair.from, pair.to))), e.repeated, REPEATED)
    elseif pair.name == "type" and members.is_message then
      tree:add(f.message, range(pair), node.value)
    elseif not member then
      local item = tree:add(f.member, range(pair), printable(text:sub(pair.from, pair.to)))
      wrong(item, "there is no such member: " .. short(printable(pair.name)))
    elseif node.kind == "null" and member.mark == "?" then
      tree:add(f.null, range(pair), pair.name)
    elseif member.count_most and node.kind == "array" then
      if #node == 0 then tree:add(f.empty, range(pair), pair.name) end
      for _, item in ipairs(node) do add(member, { name = pair.name, from = item.from, to = item.to }, item) end
      if #node < member.count_least or #node > member.count_most then wrong(tree, pair.name .. " has " .. #node .. " items") end
    elseif member.count_most then
      add({ kind = "nothing", choices = "" }, pair, node)
    else
      add(member, pair, node)
    end
  end
  for _, member in ipairs(members) do
    if member.mark == "!" and not get(object, member.name) then wrong(tree, member.name .. " is missing") end
  end
  return fault
end

-- Adds a control payload to the tree. Returns the code of its fault, the message's name and its object.
local function add_control(tree, payload)
  local text = payload:raw()
  local object, why = parse(text)
  local tag = object and object.kind == "object" and get(object, "type")
  local name = tag and tag.kind == "string" and tag.value
  if not name or not MESSAGES[name] then
    local code = not object and "bad_json" or name and "unknown_message" or "bad_message"
    why = why or name and short(printable(name)) or "no object with a type"
    tree:add(f.json, payload, printable(text)):add_proto_expert_info(e[code], why)
    return code
  end
  local function range(node) return payload(node.from - 1, node.to - node.from + 1) end
  return add_members(tree, range, text, object, MESSAGES[name]) and "bad_message", name, object
end

local function summary(text, name, object)
  local words = { "" }
  for word, equals in (INFO[name] or ""):gmatch("(%w+)(=?)") do
    local node = get(object, word)
    if node and node.kind ~= "null" then
      local plain = node.kind == "string" and node.value:find("^[%w._:/+@%-]+$")
      words[#words + 1] = equals ~= "" and word or nil
      local value = plain and node.value or text:sub(node.from, node.to):gsub("%s+", " ")
      words[#words + 1] = short(value)
    end
  end
  return table.concat(words, " ")
end

-- Streams. Wireshark comes back to packets in any order, so the mode in which each call began is kept from the first time through. Modes:
-- start, login and session (at a frame's border), search (for a border). A Field may be used only where it may be missing: it has
-- values only when there is a tree, which Wireshark does not make the first time through.

local tcp_completeness, tcp_lost = Field.new("tcp.completeness"), Field.new("tcp.analysis.lost_segment")
local modes, kept, frame_maxima = {}, {}, {} -- by direction; by call; by direction, as its hello says it
function rmsh.init() modes, kept, frame_maxima = {}, {}, {} end

-- Where a control frame of ours begins in the text, from index `from` on.
local function find_border(text, from)
  local at = text:find('\3....{ ?"type": ?"', from)
  while at do
    local length = at > 4 and text:byte(at - 4) * 2 ^ 24 + text:byte(at - 3) * 2 ^ 16 + text:byte(at - 2) * 256 + text:byte(at - 1)
    local name = text:match('^{ ?"type": ?"([a-z_]+)"', at + 5)
    if length and length > 0 and length <= rmsh.prefs.frame_max and MESSAGES[name] then return at - 4 end
    at = text:find('\3....{ ?"type": ?"', at + 1)
  end
end

-- Whether these are the first bytes of a connection: the preamble or `hello`; or nil and how many bytes of the frame are lacking.
local function is_first(text)
  if text:sub(1, #PREAMBLE) == PREAMBLE then return true end
  if not text:find("^\0\0[\0-\16].\3\0\0\0\0[ \t\r\n{]") then return false end
  local size = HEADER + text:byte(3) * 256 + text:byte(4)
  if size > HEADER + LOGIN_MAX then return false end
  local name = #text >= size and text:find('"hello"', HEADER, true)
  if #text < size then return nil, size - #text end
  return name ~= nil and name < size
end

-- The first bytes of a direction. Returns how many of them are no frames, and the mode after them; or nil and how many bytes are lacking.
local function begin(tvb, tree)
  local text = tvb:raw()
  local from, to = text:find(PREAMBLE, 1, true)
  if from then
    local item = tree:add(rmsh, tvb(0, to))
    item:append_text(", preamble")
    if from > 1 then item:add(f.noise, tvb(0, from - 1)) end
    item:add(f.preamble, tvb(from - 1, #PREAMBLE), "remote-shell pipe 1")
    return to, "login"
  end
  local tail, first, lacking = text:match("\0[^\0]*$"), is_first(text)
  if tail and PREAMBLE:sub(1, #tail) == tail or #text <= HEADER then return nil, DESEGMENT_ONE_MORE_SEGMENT end
  if lacking then return nil, lacking end
  local completeness = tcp_completeness()
  return 0, (first or completeness and completeness.value % 4 > 0) and "login" or "search" -- its SYN was captured: this is a frame
end

-- One frame at a border. Returns its size and the Info column's text, or how many bytes are lacking (nil: not known) and nothing.
local function add_frame(tvb, tree, most)
  if tvb:len() < HEADER then return nil end
  local length, kind, channel = tvb(0, 4):uint(), tvb(4, 1):uint(), tvb(5, 4):uint()
  local code = kind > 3 and "unknown_frame_type" or length > most and "frame_too_large" or length == 0 and "empty_frame"
    or kind ~= 3 and channel == 0 and "data_on_channel_zero"
  local size = code and HEADER or HEADER + length
  if tvb:len() < size then return size - tvb:len() end
  local item = tree:add(rmsh, tvb(0, size))
  item:add(f.length, tvb(0, 4))
  item:add(f.type, tvb(4, 1))
  item:add(f.channel, tvb(5, 4))
  local fault, info, name, object = code, code, nil, nil
  if code then
    local figures = code == "frame_too_large" and (": %.0f bytes, and %.0f are agreed"):format(length, most) or ""
    item:add_proto_expert_info(e[code], FAULTS[code] .. figures)
  elseif kind == 3 then
    fault, name, object = add_control(item, tvb(HEADER, length))
    info = (fault and fault .. " " or "") .. (object and name or "control") .. (channel > 0 and " " .. channel or "")
    if object then info = info .. summary(tvb:raw(HEADER, length), name, object) end
  else
    local text = tvb:raw(HEADER, math.min(length, 60)):gsub("[\n\r\t]", { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" })
    item:add(f.data, tvb(HEADER, length)):append_text('  "' .. text:gsub("[^\32-\126]", ".") .. '"' .. (length > 60 and "…" or ""))
    info = ("%s %d, %d byte%s"):format(TYPES[kind], channel, length, length == 1 and "" or "s")
  end
  if fault then item:add(f.fault, tvb(0, size), fault):set_generated() end
  item:append_text(", " .. info)
  return size, info, code, name, object
end

local function add_undecoded(tree, range, why)
  local item = tree:add(rmsh, range)
  item:append_text(", not decoded")
  item:add(f.undecoded, range):add_proto_expert_info(why)
end

local last_number -- of the packet that has something of ours in its Info column

function rmsh.dissector(tvb, pinfo, tree)
  local function direction(one, port, other, other_port) return table.concat({ tostring(one), port, tostring(other), other_port }, " ") end
  local here = direction(pinfo.src, pinfo.src_port, pinfo.dst, pinfo.dst_port)
  local there = direction(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)
  local call, infos, at, lacking = here .. " " .. pinfo.number .. " " .. tvb:offset(), {}, 0, nil
  if not pinfo.visited then
    local first = tvb:len() > HEADER and tvb(5, 4):uint() == 0 and is_first(tvb:raw()) -- of a later connection with the same ports
    kept[call] = kept[call] or tcp_lost() and "search" or first and "start" or modes[here] or "start"
  end
  local mode = kept[call] or "search"
  while at < tvb:len() and not lacking do
    local rest = tvb(at):tvb()
    if mode == "start" then
      local count, more = begin(rest, tree)
      if count then at, mode = at + count, more else lacking = more end
    elseif mode == "search" then
      local border = find_border(rest:raw(), 1)
      local count = border and border - 1 or rest:len()
      if count > 0 then
        add_undecoded(tree, rest(0, count), e.no_border)
        infos[#infos + 1] = count .. " bytes not decoded"
      end
      at, mode = at + count, border and "session" or mode
    else
      local most = mode == "login" and LOGIN_MAX or frame_maxima[there] or rmsh.prefs.frame_max
      local size, info, code, name, object = add_frame(rest, tree, most)
      if info then
        at, infos[#infos + 1] = at + size, info
        if mode == "login" and name == "hello" then
          local its_most = get(object, "frame_max")
          frame_maxima[here] = its_most and its_most.kind == "integer" and its_most.value or nil
        end
        mode = code and "search" or mode == "login" and (name == "auth" or name == "welcome") and "session" or mode
      else
        lacking = size or DESEGMENT_ONE_MORE_SEGMENT
      end
    end
  end
  if lacking and pinfo.can_desegment > 0 then
    pinfo.desegment_offset, pinfo.desegment_len = at, lacking
  elseif lacking then
    add_undecoded(tree, tvb(at), e.cut)
    mode = "search"
  end
  if not pinfo.visited then modes[here] = mode end
  if #infos == 0 then return end
  pinfo.cols.protocol = "rmsh"
  local text = table.concat(infos, "; ", 1, math.min(#infos, 8)) .. (#infos > 8 and "; and " .. #infos - 8 .. " more" or "")
  pinfo.cols.info:set((last_number == pinfo.number and "; " or "") .. text)
  pinfo.cols.info:fence()
  last_number = pinfo.number
end

rmsh:register_heuristic("tcp", function(tvb, pinfo, tree)
  local text = tvb:raw()
  if not is_first(text) and find_border(text, 1) ~= 1 then return false end -- in mid-stream any message will do
  pinfo.conversation = rmsh -- of both directions
  rmsh.dissector(tvb, pinfo, tree)
  return true
end)

local tcp_ports, ports = DissectorTable.get("tcp.port"), ""
tcp_ports:add_for_decode_as(rmsh)
function rmsh.prefs_changed()
  if ports ~= "" then tcp_ports:remove(ports, rmsh) end
  ports = rmsh.prefs.ports
  if ports ~= "" then tcp_ports:add(ports, rmsh) end
end
