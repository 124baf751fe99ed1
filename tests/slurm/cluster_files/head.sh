# Start the whole cluster: head.sh FOLDER, as the first process of fresh namespaces. It ends when that process is killed.
set -eu
folder=$1 here=$(dirname "$0")
export SLURM_CONF=$folder/slurm.conf
mkdir -p "$folder/state" "$folder/spool-node1" "$folder/spool-node2"
sed "s#@FOLDER@#$folder#g" "$here/slurm.conf" >"$SLURM_CONF"
printf '%s\n' '127.0.0.1 localhost' '10.9.0.1 control' '10.9.0.11 node1' '10.9.0.12 node2' >"$folder/hosts"
hostname control
mount --bind "$folder/hosts" /etc/hosts
ip link set lo up
ip link add bridge0 type bridge
ip address add 10.9.0.1/24 dev bridge0
ip link set bridge0 up
(umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
munged --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld -c
bash "$here/node.sh" "$folder" node1 11
bash "$here/node.sh" "$folder" node2 12
until [ "$(sinfo -hN -p usual -o %T | grep -c '^idle$')" = 2 ]; do sleep 0.1; done
touch "$folder/ready"
while :; do sleep 1; done
