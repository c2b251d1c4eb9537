package dist_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train/dist"
)

func from(variables map[string]string) (dist.Environment, error) {
	return dist.FromEnvironment(func(key string) string { return variables[key] })
}

// TestLaunchers sets what each launcher sets (examples/jobs).
func TestLaunchers(t *testing.T) {
	for name, c := range map[string]struct {
		variables map[string]string
		want      dist.Environment
	}{
		"nothing": {nil, dist.Environment{World: 1, Launcher: "none"}},
		"torchrun": {map[string]string{"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "1234",
			"TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "SLURM_PROCID": "0"},
			dist.Environment{Rank: 5, World: 8, LocalRank: 1, Host: "node1", Port: 1234, AgentStore: true, Restarts: 2, Launcher: "torchrun", LocalVariable: "LOCAL_RANK"}},
		"torchrun with one process": {map[string]string{"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "node1", "TORCHELASTIC_RESTART_COUNT": "1"},
			dist.Environment{World: 1, Restarts: 1, Launcher: "torchrun", LocalVariable: "LOCAL_RANK"}},
		"PyTorchJob": {map[string]string{"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "PYTHONUNBUFFERED": "1"},
			dist.Environment{Rank: 1, World: 2, Host: "job-master-0", Port: 23456, Launcher: "torchrun", LocalVariable: "LOCAL_RANK"}},
		"Slurm": {map[string]string{"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "123456",
			"SLURM_STEP_NODELIST": "gpu[003-004,7]", "SLURM_RESTART_COUNT": "1"},
			dist.Environment{Rank: 3, World: 4, LocalRank: 1, Host: "gpu003", Port: 13456, Restarts: 1, Launcher: "Slurm", LocalVariable: "SLURM_LOCALID"}},
		"Slurm's batch script": {map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"},
			dist.Environment{World: 1, Launcher: "none"}},
		"Open MPI": {map[string]string{"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "MASTER_ADDR": "a"},
			dist.Environment{Rank: 1, World: 2, LocalRank: 1, Host: "a", Port: 29500, Launcher: "Open MPI", LocalVariable: "OMPI_COMM_WORLD_LOCAL_RANK"}},
		"MPICH": {map[string]string{"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MASTER_ADDR": "a"},
			dist.Environment{World: 2, Host: "a", Port: 29500, Launcher: "MPI", LocalVariable: "MPI_LOCALRANKID"}},
	} {
		got, err := from(c.variables)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	for list, want := range map[string]string{"a": "a", "a,b": "a", "n[1-3]": "n1", "n[07,9],m": "n07", "n[1-2]-ib,m": "n1-ib"} {
		e, err := from(map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": list})
		require.NoError(t, err)
		require.Equal(t, want, e.Host, list)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	for want, variables := range map[string]map[string]string{
		`RANK is "x", want a whole number`:                      {"RANK": "x", "WORLD_SIZE": "2"},
		`RANK is 0, but WORLD_SIZE is "", want at least 1`:      {"RANK": "0"},
		`RANK is 2, want 0 to 1 (WORLD_SIZE is 2)`:              {"RANK": "2", "WORLD_SIZE": "2"},
		`MASTER_ADDR does not say where rank 0 is`:              {"RANK": "1", "WORLD_SIZE": "2"},
		`MASTER_PORT is 70000, want 1 to 65535`:                 {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "70000"},
		`OMPI_COMM_WORLD_RANK is -1, want 0 to 1 (OMPI_COMM_WO`: {"OMPI_COMM_WORLD_RANK": "-1", "OMPI_COMM_WORLD_SIZE": "2"},
	} {
		_, err := from(variables)
		require.ErrorContains(t, err, want)
	}
}

func ExampleFromEnvironment() {
	variables := map[string]string{"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
	e, err := dist.FromEnvironment(func(key string) string { return variables[key] })
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Rank, "of", e.World, "at", e.Address())
	// Output: 3 of 8 at node1:29500
}
