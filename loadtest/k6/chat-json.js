// Users who chat in JSON (subprotocol carillon.v1.json):
//
//   k6 run loadtest/k6/chat-json.js
//   k6 run -e VUS=200 -e DURATION=2m -e BASE_URL=http://gateway:8080 loadtest/k6/chat-json.js

import { chat } from "./chat.js";

export { options } from "./chat.js";

const JSON_FORM = {
  subprotocol: "carillon.v1.json",
  say: (frame) => JSON.stringify(frame),
  heard: (message) => [JSON.parse(message)],
};

export default function () {
  chat(JSON_FORM);
}
