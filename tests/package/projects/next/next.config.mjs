/** A static export, so that any server can serve it. The packages are in the folder above. */
export default {
  output: 'export',
  distDir: 'dist',
  turbopack: { root: `${import.meta.dirname}/..` },
};
