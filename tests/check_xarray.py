#!/usr/bin/python3
"""check_xarray.py RESULTS.h5: the file is what a netCDF user expects.

Opens the root and every group by itself with xarray (engine h5netcdf) and checks dimension names, coordinate values, units, fill
values and that grids and settings agree with the job kept in the file. Prints one line; exit status 1 at the first thing that is wrong.
"""
import json
import sys

import h5py
import numpy as np
import xarray as xr

MOMENTS = {
    "count": ("point", "block"),
    "nonfinite": ("point", "block"),
    "mean": ("point", "block", "value"),
    "comoment": ("point", "block", "pair"),
    "largest": ("point", "block", "vector", "rank"),
    "largest_id": ("point", "block", "vector", "rank"),
}
OUTPUTS = {  # of the estimators that come with metavar; others are checked by the general rules
    ("backprop", "direct"): ("point", "replicate", "truncation", "hessian", "meta_parameter"),
    ("backprop", "correction"): ("point", "replicate", "truncation", "hessian", "meta_discount", "meta_parameter"),
}


def numbers(text):
    return [float(x) for x in text.strip("[]").split(",")]


def check_variable(name, variable, raw):
    assert raw.attrs["units"] and raw.attrs["long_name"], name
    assert not any(str(d).startswith("phony_dim") for d in variable.dims), name
    if variable.dtype.kind == "f":
        assert np.isnan(raw.attrs["_FillValue"]), name
    if variable.ndim and variable.dtype.kind in "if":
        assert raw.fletcher32 and raw.compression is None, name


def check_points(path, group, data):
    assert data["eta"].dims == ("point", "meta_parameter")
    assert (data["point"] == np.arange(data.sizes["point"])).all()
    assert np.isfinite(data["eta"]).all()
    assert len(set(data["meta_parameter"].values)) == data.sizes["meta_parameter"]
    with xr.open_dataset(path, engine="h5netcdf") as root:
        assert (root["eta"].values == data["eta"].values).all(), group


def check_settings(data):
    for axis in ("truncation", "meta_discount"):
        if axis in data.dims:
            assert axis in data.coords, axis
            assert list(data[axis].values) == numbers(data.attrs[axis]), axis
    if "hessian" in data.attrs and "hessian" in data.dims:
        assert list(data["hessian"].values) == data.attrs["hessian"].strip("[]").split(", ")
    assert (data["cost"] == data["cost_primal"] + data["cost_tangent"]).all() and (data["cost"] > 0).all()
    assert data["cost"].attrs["units"] == "inner steps"
    assert data.attrs["needs"] in ("derivatives", "nothing") and data.attrs["estimator"] and data.attrs["task"]


def check_samples(data):
    r = data["replicate"].values
    lifetimes, perturbations = (int(data.attrs[k]) for k in ("lifetimes_per_task", "perturbations_per_lifetime"))
    assert (r == np.arange(int(data.attrs["replicates"]))).all()
    assert (data["task_instance"] == r // (lifetimes * perturbations)).all()
    assert (data["lifetime"] == r // perturbations % lifetimes).all()
    assert (data["perturbation"] == r % perturbations).all()
    assert list(data["status"].attrs["flag_values"]) == [0, 1, 2]
    assert data["status"].attrs["flag_meanings"] == "ok nonfinite absent"
    good = (data["status"] == 0).values
    for name, variable in data.data_vars.items():
        if variable.dims[:2] == ("point", "replicate"):
            if variable.dtype.kind == "f":
                assert np.isfinite(variable.values[good]).all(), name
            wanted = OUTPUTS.get((data.attrs["estimator"], name))
            assert wanted is None or variable.dims == wanted, (name, variable.dims)
    assert data["objective"].dims == ("point", "replicate")


def check_moments(data):
    for name, dims in MOMENTS.items():
        assert data[name].dims == dims, (name, data[name].dims)
    block = data["block"].values
    replicates = int(data.attrs["replicates"])
    sizes = np.diff(np.append(block, replicates))
    assert block[0] == 0 and (sizes > 0).all() and (sizes[:-1] == sizes[0]).all()
    assert (data["count"] + data["nonfinite"] == sizes).all()
    m = data.sizes["value"]
    row, col = np.triu_indices(m)
    assert data.sizes["pair"] == len(row) and (data["pair_row"] == row).all() and (data["pair_col"] == col).all()
    assert len(set(data["value"].values)) == m and all(data["value"].values)
    diagonal = data["comoment"].values[..., row == col]
    assert not (diagonal < 0).any()
    largest = data["largest"].values
    assert (np.diff(largest, axis=-1) <= 0).all()
    ids = data["largest_id"].values
    inside = (ids >= block[None, :, None, None]) & (ids < (block + sizes)[None, :, None, None])
    assert (inside == (largest >= 0)).all()


def check_group(path, raw, group):
    with xr.open_dataset(path, engine="h5netcdf", group=group) as data:
        assert not any(str(d).startswith("phony_dim") for d in data.dims), group
        for name, variable in data.variables.items():
            check_variable(f"{group}/{name}", variable, raw[name])
        for name, variable in data.data_vars.items():
            assert all(d in data.coords for d in variable.dims), (group, name, "an axis without values")
        if group == "provenance":
            assert "seed:" in str(data["job"].values) and "seed:" in str(data["resolved"].values)
            for line in data["manifest"].values:
                assert json.loads(line)["v"] == 1
            return
        check_points(path, group, data)
        if group is None:
            assert data.attrs["Conventions"] == "CF-1.10"
            for key in ("title", "history", "source", "references", "date_created"):
                assert data.attrs[key], key
            return
        check_settings(data)
        (check_samples if data.attrs["store"] == "samples" else check_moments)(data)


def main():
    path = sys.argv[1]
    with h5py.File(path, "r") as raw:
        groups = [name for name, item in raw.items() if isinstance(item, h5py.Group)]
        assert "provenance" in groups and len(groups) > 1
        check_group(path, raw, None)
        for group in groups:
            check_group(path, raw[group], group)
    print(f"{path}: {len(groups)} groups open in xarray with named dimensions and coordinate values")


if __name__ == "__main__":
    main()
