using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      compatibilityDate = "2026-01-01",
      modules = [
        (name = "worker", esModule = embed "dist/worker.js"),
        (name = "webbft/wasm", wasm = embed "dist/webbft.wasm"),
      ],
    )),
    # The replicas are on this machine.
    (name = "internet", network = (allow = ["private", "public"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
