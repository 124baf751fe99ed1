# Start one node: node.sh FOLDER NAME LAST_OCTET, inside the head's namespaces. A node that was lost is brought back the same way.
folder=$1 name=$2 octet=$3
unshare --net --uts --mount --pid --fork --kill-child --mount-proc bash -c "
  hostname $name
  ip link set lo up
  until ip link show eth0; do sleep 0.02; done
  ip address add 10.9.0.$octet/24 dev eth0
  ip link set eth0 up
  slurmd -D & wait" </dev/null >"$folder/$name.out" 2>&1 &
echo $! >"$folder/$name.pid"
# The child has its own network as soon as its name space differs from ours; then the cable goes in.
until child=$(pgrep -P $!) && [ "$(readlink "/proc/$child/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add "cable$octet" type veth peer name eth0 netns "$child"
ip link set "cable$octet" master bridge0 up
