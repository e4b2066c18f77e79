/** The members of the cluster: this node, and the leader if that is another one. */
import * as Crypto from "node:crypto"
import type * as Grpc from "@grpc/grpc-js"
import type { Context } from "./context.ts"
import { serviceError } from "./errors.ts"
import type { Endpoint } from "./faults.ts"
import type { Gossip, Shared } from "./protocol.ts"
import { gossip, shared } from "./protocol.ts"

export const gossipHandlers = (context: Context, self: () => Endpoint) => ({
  read: (
    call: Grpc.ServerUnaryCall<Shared.Empty, Gossip.ClusterInfo>,
    callback: Grpc.sendUnaryData<Gossip.ClusterInfo>
  ) => {
    const denied = context.denies(call, "allowed")
    if (denied !== undefined) return callback(serviceError(denied))
    const { LEADER, FOLLOWER } = gossip.MemberInfo.VNodeState
    const { leader } = context.faults
    const info = new gossip.ClusterInfo()
    info.setMembersList(
      leader === undefined ? [member(self(), LEADER)] : [member(self(), FOLLOWER), member(leader, LEADER)]
    )
    callback(null, info)
  }
})

const member = ({ host, port }: Endpoint, state: Gossip.MemberInfo.VNodeState): Gossip.MemberInfo => {
  const endpoint = new gossip.EndPoint()
  endpoint.setAddress(host)
  endpoint.setPort(port)
  const id = new shared.UUID()
  id.setString(Crypto.randomUUID())
  const info = new gossip.MemberInfo()
  info.setInstanceId(id)
  info.setTimeStamp(String(Date.now() * 10_000))
  info.setState(state)
  info.setIsAlive(true)
  info.setHttpEndPoint(endpoint)
  return info
}
