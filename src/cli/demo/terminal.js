// The page of the terminal: it shows what the server sends, and sends each line of the person.
"use strict";

const screen = document.getElementById("terminal");
const input = document.getElementById("command");
const socket = new WebSocket(new URL("/terminal/socket", location.href.replace(/^http/, "ws")));

function show(text, name) {
  const line = document.createElement("p");
  line.textContent = text;
  if (name) line.className = name;
  screen.append(line);
  screen.scrollTop = screen.scrollHeight;
}

socket.addEventListener("message", (event) => {
  const message = JSON.parse(event.data);
  if ("clock" in message) screen.dataset.clock = message.clock;
  else show(message.text);
});

// Curfew ends the WebSocket with the session, and names the reason.
socket.addEventListener("close", (event) => {
  input.disabled = true;
  const reason = event.reason || "the connection was lost";
  show(`The server closed the terminal: ${reason} (${event.code}).`, "closed");
});

// Each key is activity, not only a complete line.
input.addEventListener("input", () => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ key: true }));
});

document.getElementById("line").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN || input.value === "") return;
  show(`$ ${input.value}`, "command");
  socket.send(JSON.stringify({ line: input.value }));
  input.value = "";
});
