/**
 * Resumes a fiber from within another fiber. It and its observers run synchronously. Anything they throw is reported to
 * the process, as it would be if they ran on their own, and does not end the fiber that serves others.
 */
export const resumeSafely = (resume: () => void): void => {
  try {
    resume()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
