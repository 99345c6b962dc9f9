import { Client, connect } from "/static/broadcast/client.js";
import { Clock, Server, equal, heard, ok, test } from "./harness.js";

const FIRST = { epoch: "e1", offset: 3 };

function client({ random = () => 1 } = {}) {
  const server = new Server();
  const clock = new Clock();
  return { server, clock, client: new Client("ws://here/ws", { WebSocket: server.WebSocket, clock, random }) };
}

test("it follows a group from a position, and passes its messages on", () => {
  const { server, client: it } = client();
  const lobby = it.subscribe("lobby", FIRST);
  const messages = heard(lobby, "message");
  server.open();
  equal(server.asked, [{ group: "lobby", after: 3, epoch: "e1" }]);
  server.welcome({ group: "lobby", offset: 3 });
  server.message(4, { group: "lobby" });
  equal([it.state, lobby.live, messages.map(({ offset }) => offset)], ["live", true, [4]]);
});
