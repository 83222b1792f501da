// SPDX-License-Identifier: Apache-2.0
// What this server is measured against: the same messages by a minimal program on Bun, whose WebSockets are
// uWebSockets in C++. It knows no catch-up, limits, metrics, outages or origins. PORT, REDIS_PORT, JWT_SECRET.
import { createHmac, timingSafeEqual } from "node:crypto";

const STREAM = "async-events-full";
const CHANNEL = "realtime";
const EVERYBODY = "*";
const secret = process.env.JWT_SECRET ?? "";
const sockets = new Map<string, number>(); // of each channel or principal

function whose(cookies: string): string | undefined {
  const token = /(?:async-token|superset-ws-token)=([\w-]+)\.([\w-]+)\.([\w-]+)/.exec(cookies);
  if (!token) return undefined;
  const [, header, payload, signature] = token;
  const right = createHmac("sha256", secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
  if (JSON.parse(Buffer.from(header, "base64url").toString()).alg !== "HS256") return undefined;
  return JSON.parse(Buffer.from(payload, "base64url").toString()).channel;
}

const server = Bun.serve<{ channel: string }>({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, self) {
    const channel = whose(request.headers.get("cookie") ?? "");
    if (channel === undefined) return new Response("no token", { status: 401 });
    if (self.upgrade(request, { data: { channel } })) return undefined;
    return new Response("no handshake", { status: 400 });
  },
  websocket: {
    idleTimeout: 120,
    perMessageDeflate: false,
    open(socket) {
      const { channel } = socket.data;
      socket.subscribe(channel);
      socket.subscribe(EVERYBODY);
      sockets.set(channel, (sockets.get(channel) ?? 0) + 1);
    },
    message() {},
    close(socket) {
      const { channel } = socket.data;
      const left = (sockets.get(channel) ?? 1) - 1;
      if (left) sockets.set(channel, left);
      else sockets.delete(channel);
    },
  },
});

// --- Redis: commands out, replies in, on a connection of its own -------------------------------------------

type Reply = string | null | Reply[];

class Incomplete extends Error {}

class Replies {
  private data = Buffer.alloc(0);
  private at = 0;

  feed(chunk: Buffer) {
    this.data = this.at < this.data.length ? Buffer.concat([this.data.subarray(this.at), chunk]) : chunk;
    this.at = 0;
  }

  *take(): Generator<Reply> {
    while (this.at < this.data.length) {
      const begin = this.at;
      try {
        yield this.next();
      } catch (error) {
        if (!(error instanceof Incomplete)) throw error;
        this.at = begin;
        return;
      }
    }
  }

  private line(): string {
    const end = this.data.indexOf("\r\n", this.at);
    if (end < 0) throw new Incomplete();
    const text = this.data.latin1Slice(this.at, end);
    this.at = end + 2;
    return text;
  }

  private next(): Reply {
    const line = this.line();
    const count = Number(line.slice(1));
    if (line[0] === "*") return count < 0 ? null : Array.from({ length: count }, () => this.next());
    if (line[0] !== "$") return line.slice(1);
    if (count < 0) return null;
    if (this.data.length < this.at + count + 2) throw new Incomplete();
    const text = this.data.utf8Slice(this.at, this.at + count);
    this.at += count + 2;
    return text;
  }
}

function command(...words: string[]): string {
  return `*${words.length}\r\n` + words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("");
}

function talk(begin: string, answer: (reply: Reply) => string | undefined) {
  const replies = new Replies();
  Bun.connect({
    hostname: "127.0.0.1",
    port: Number(process.env.REDIS_PORT),
    socket: {
      open: (socket) => void socket.write(begin),
      data(socket, chunk) {
        replies.feed(Buffer.from(chunk));
        for (const reply of replies.take()) {
          const next = answer(reply);
          if (next) socket.write(next);
        }
      },
    },
  });
}

// --- the two transports ------------------------------------------------------------------------------------

let position = "$";

function read(): string {
  return command("XREAD", "COUNT", "1000", "BLOCK", "5000", "STREAMS", STREAM, position);
}

talk(command("XREVRANGE", STREAM, "+", "-", "COUNT", "1"), (reply) => {
  if (position === "$") {
    position = (reply as string[][])[0]?.[0] ?? "0-0";
    return read();
  }
  for (const [id, fields] of ((reply as any)?.[0]?.[1] ?? []) as [string, string[]][]) {
    position = id;
    const event = JSON.parse(fields[1]);
    if (sockets.has(event.channel_id)) server.publish(event.channel_id, JSON.stringify({ id, ...event }));
  }
  return read();
});

talk(command("SUBSCRIBE", CHANNEL), (reply) => {
  const [kind, , text] = reply as string[];
  if (kind !== "message") return undefined;
  const { topic, payload, scope, routes } = JSON.parse(text);
  const message = JSON.stringify({ topic, payload });
  if (scope === "authenticated_global") server.publish(EVERYBODY, message);
  else for (const route of new Set<string>(routes ?? [])) if (sockets.has(route)) server.publish(route, message);
  return undefined;
});
