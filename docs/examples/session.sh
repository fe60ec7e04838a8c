#!/bin/bash
# A session with nc and jq: makes a VM, frees it only if nobody else has changed it meanwhile, and reads what was done.
set -euo pipefail
sock=${1:-/run/portcullis/control.sock}

# rpc METHOD PARAMS: the result, or the error and a failure.
rpc() {
    printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' "$1" "$2" | nc -U -N "$sock" |
        jq -ce '.result // (.error | halt_error(1))'
}

rpc vm.set '{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"]}' | jq -c '{revision, changed}'
etag=$(rpc vm.get '{"id":"web1"}' | jq -r .etag)
rpc vm.patch "{\"id\":\"web1\",\"class\":\"unrestricted\",\"note\":\"ticket 4711\",\"if_etag\":\"$etag\"}" | jq -c '{revision, changed}'
rpc vm.get '{"id":"web1"}' | jq -r .effective_class
rpc history '{"vm":"web1","limit":1}' | jq -c '.entries[0] | {method, revision, note: .after.note}'
