// Users who chat in the binary form (subprotocol carillon.v1):
//
//   k6 run loadtest/k6/chat-binary.js
//   k6 run -e VUS=200 -e DURATION=2m -e BASE_URL=http://gateway:8080 loadtest/k6/chat-binary.js

import { chat } from "./chat.js";
import { decodeAll, encode } from "./codec.js";

export { options } from "./chat.js";

const BINARY_FORM = {
  subprotocol: "carillon.v1",
  say: (frame) => encode(frame).buffer,
  heard: (message) => decodeAll(message),
};

export default function () {
  chat(BINARY_FORM);
}
